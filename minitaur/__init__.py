"""The front door of this stack: the command ``minitaur``, which starts every other command."""
