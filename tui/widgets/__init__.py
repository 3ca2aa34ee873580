"""The dashboard's widgets. They show what they are given, and post messages when the user does something.

    header            the two lines at the top: project, connection, counts, Redis and registry
    service_table     the table of services and instances
    tab_bar           the line above the lower pane: tabs, their subject, flags
    log_view          log lines or events: followed, filtered, searched
    text_view         a scrollable text: the details of a row
    key_footer        the line of keys at the bottom
    line_scroll_view  the base of `log_view` and `text_view`: scrolling keys, selection with the mouse
    static_text       the base of the lines at the top and bottom: redraws only lines that changed

Snapshots arrive up to twenty times a second, so the widgets redraw only what differs. They refuse to decide what a command
or a key means.
"""
