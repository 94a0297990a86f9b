"""An app whose import ends the process, as far as it can."""

import sys

sys.exit(3)
