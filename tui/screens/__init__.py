"""The dashboard's screens.

    main      the table, the pane with events, logs and details, and their keys
    confirm   the dialog before a destructive command and before quitting
    palette   the command palette
    dialog    the base class of the dialogs: each is closed once
    help      all keys and symbols on one page

They read the state, post messages to the app for commands, and refuse to talk to the supervisor, but for following logs.
"""
