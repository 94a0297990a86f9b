"""A child: one job at a time, alone in its process, without broker credentials."""
