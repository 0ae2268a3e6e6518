"""What is remembered: the tables of rows and links, and advice on their sizes."""
