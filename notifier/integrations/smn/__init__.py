"""Huawei Cloud Simple Message Notification (SMN): topics, which pass messages on to mail, SMS, HTTP and robots."""
