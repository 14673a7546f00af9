"""What ``sonoforge gan compare`` shows: tables, pictures, and tables kept from before."""
