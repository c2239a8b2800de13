"""ntfy: push messages to phones and desktops, through ntfy.sh or a server of your own."""
