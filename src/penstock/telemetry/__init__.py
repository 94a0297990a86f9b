"""What Penstock tells about itself: log lines and events. Sinks observe and change nothing."""
