"""How well a task's next run is told from its earlier ones: runs recorded, and played again."""
