"""Tests of the page, and the history that its pictures show."""
