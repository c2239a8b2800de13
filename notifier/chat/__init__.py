"""Look-ups and actions from a chat: doors that take requests, and one room that answers them."""
