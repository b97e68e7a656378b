"""The blocs that ship with Cableway, one per file, and the classes that bloc authors extend."""
