"""Tables printed in the terminal."""
