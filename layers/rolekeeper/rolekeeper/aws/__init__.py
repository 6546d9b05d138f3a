"""AWS as the domain asks it: EC2, IAM, the work queue; their errors by what the caller should do."""
