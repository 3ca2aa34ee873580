"""The RPC methods about tokens and reserved names: Authenticate, CreateToken, Tokens, RevokeToken, TokenRights and Reserve."""

from typing import Any

import trio

from minikube.jsonrpc.messages import Request, RpcError
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.access.access_control import AccessControl
from minikube.registry.access.policy import ServiceReservation
from minikube.registry.access.rights import parse_rights
from minikube.registry.validation import arguments, as_type, invalid, without_placeholder

WRONG_TOKEN_DELAY_S = 0.1
"""How long the answer to a wrong token is delayed, against guessing."""


class TokenMethods:
    """The methods of one registry about tokens and reserved names."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access

    async def authenticate(self, request: Request, connection: RpcConnection) -> Any:
        """Accept the token of a connection and return True. Raises RpcError for a wrong token, Unavailable without the store."""
        (token,) = arguments(request.params, "Token", required=1)
        if not await self._access.authenticate(connection, as_type(token, str, "Token")):
            await trio.sleep(WRONG_TOKEN_DELAY_S)
            self._access.refuse_token(connection)
        return True

    async def create_token(self, request: Request, connection: RpcConnection) -> Any:
        """Create a token with rights, and return its name and the token itself. Raises RpcError without the right to."""
        rights_argument, name_argument = arguments(request.params, "Rights", "Name", required=1)
        self._access.check_admin(connection)
        try:
            rights = parse_rights(as_type(rights_argument, list[str], "Rights"))
        except ValueError as error:
            raise invalid(f"Rights: {error}") from None
        name, token = await self._access.tokens.create(as_type(name_argument or "", str, "Name"), rights)
        return {"Name": name, "Token": token}

    async def tokens(self, request: Request, connection: RpcConnection) -> Any:
        """Return the names, rights and times of all stored tokens. Raises RpcError without the right to."""
        arguments(without_placeholder(request.params), "")
        self._access.check_admin(connection)
        await self._access.tokens.refresh()
        stored = self._access.tokens.list()
        return [{"Name": one.name, "Rights": one.rights.texts(), "Created": one.created} for one in stored]

    async def revoke_token(self, request: Request, connection: RpcConnection) -> Any:
        """Revoke a token by name, also for connections that use it now. Raises RpcError without the right to."""
        (name,) = arguments(request.params, "Name", required=1)
        self._access.check_admin(connection)
        await self._access.tokens.revoke(as_type(name, str, "Name"))
        self._access.drop_revoked()
        return True

    async def token_rights(self, request: Request, connection: RpcConnection) -> Any:
        """Return the rights of a token to the supervisor, whose control API takes it, too."""
        (token,) = arguments(request.params, "Token", required=1)
        self._access.check_supervisor(connection)
        found = await self._access.find_token(as_type(token, str, "Token"))
        return found.rights.texts() if found else []

    async def reserve(self, request: Request, connection: RpcConnection) -> Any:
        """Take the names that the manifest reserves, in parts of at most a line: `[services, is_first, is_last]`."""
        services, is_first, is_last = arguments(request.params, "Services", "First", "Last", required=3)
        self._access.check_supervisor(connection)
        self._access.reserve(
            as_type(services, dict[str, ServiceReservation], "Services"),
            is_first=as_type(is_first, bool, "First"),
            is_last=as_type(is_last, bool, "Last"),
        )
        await trio.lowlevel.checkpoint()
        return True


def token_argument(params: Any) -> Any:
    """Return the one parameter of `Discovery.Authenticate`, in all its forms; None if there is none."""
    try:
        (token,) = arguments(params, "Token")
    except RpcError:
        return None
    return token
