"""Pure decisions: no I/O, no clock, no random number. All three are given as arguments."""
