"""What the model reads: examples, patterns, label words and the tasks that hold them. No model is known here."""
