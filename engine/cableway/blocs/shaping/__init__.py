"""Small blocs that shape tables: one declarative step each, over Arrow."""
