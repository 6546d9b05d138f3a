"""What a person does to instances: pin, release, tag, start; for one and for a thousand."""
