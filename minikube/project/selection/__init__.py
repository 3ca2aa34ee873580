"""Which services are meant: `profiles` selects those that `up` starts, by profiles or by name; `groups` finds the services that
`@group` and `@tag:x` stand for."""
