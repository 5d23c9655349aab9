"""What several tests need: scripted robots and boards, small policies."""
