"""Requests that blocs send: where they may go, how much may come back, and when they are sent again."""
