"""Deploying, upgrading and destroying the stack, with boto3 alone from the wheel, or with the SAM CLI from a clone."""
