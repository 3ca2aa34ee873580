"""Whether a caller's token is right (floor 2, pure), over whatever it came."""

import hmac


def is_token(given: object, token: str) -> bool:
    """Compared in a time that does not tell how much of it was right; never with an empty one."""
    if not isinstance(given, str) or not token:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())
