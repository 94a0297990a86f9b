"""The command line: parse, call one verb of the library or the port, print, exit with a code."""
