"""What an exported file computes, the formats that runtimes read, and how files are written, checked and made small."""
