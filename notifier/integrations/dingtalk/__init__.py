"""DingTalk (钉钉): custom robots of groups, and robots of an enterprise's own apps."""
