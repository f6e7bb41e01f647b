"""Pictures and captions on their way into training: scan, decode, captions, buckets, caches, epoch plans."""
