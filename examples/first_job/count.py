"""Count the words of files in the background: python count.py FILE..."""

import sys

from app import add_up, app, count_words

counts = app.enqueue_many([count_words.call(path) for path in sys.argv[1:]])
total = add_up.using(after=counts).enqueue([job.id for job in counts])
print(f"{len(counts)} files, {total.result(timeout='30s')} words; see: penstock job {total.id}")
