"""From folders, files and arrays to uint8 images with labels."""
