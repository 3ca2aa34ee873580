"""The dashboard's screens (floor 4): the main one, its questions, its help."""
