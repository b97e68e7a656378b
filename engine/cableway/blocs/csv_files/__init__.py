"""CSV as source and sink: where records end, what their columns are, and rows as text."""
