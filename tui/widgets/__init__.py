"""The dashboard's own widgets (floor 4). They show what they are given and hold no policy."""
