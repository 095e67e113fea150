"""Object stores and other file systems behind URLs: opened, asked again, and told in words."""
