"""What is known of each noun: the fields of `-o json`, declared once, without AWS and without click."""
