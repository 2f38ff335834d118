"""The only floor that knows transformers: where weights come from, how text becomes ids, how a model is asked."""
