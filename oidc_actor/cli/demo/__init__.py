"""The demo: scenes that play with a live manager (`story`), promises that judge them (`promises`), and the screen (`view`)."""
