"""Work on many hosts in shards: plain messages, one seam, workers that run the usual runner on their part."""
