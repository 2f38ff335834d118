"""Where examples come from: any source of rows, read for a task, and a few of them drawn by seed."""
