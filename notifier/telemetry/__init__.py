"""What a process shows of itself to those who operate it: counters, and spans of its work."""
