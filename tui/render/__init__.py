"""The contents of the dashboard, computed from a snapshot by pure functions.

    rows        a snapshot becomes the table's rows: grouping, sorting, folding, filters
    columns     which columns fit a width, and the text of each cell
    describe    all details of a row, as the details tab shows them
    log_entry   an event or a log line becomes an entry of the log view
    format      badges for states; ages, sizes and sparklines in few characters
    theme       the dashboard's theme, and style names as terminal styles

It refuses to know widgets, and to do I/O. Strings from outside (names, outputs, reasons) go through `format.single_line` or
`minikube.text.printable` before they are shown: they may hold escape sequences.
"""
