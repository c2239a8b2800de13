"""WeCom (企业微信): robots of groups."""
