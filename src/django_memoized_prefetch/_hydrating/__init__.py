"""Builds model instances from result rows natively."""
