"""What is promised of each scenario, and how its figures are written."""
