"""From web-scale metadata to clips: select, fetch, score, embed, index, subset.

    rows = select(LAION parquet)     # rules as SQL over many files, tags joined by hash, a funnel of what each removed
    shards = fetch(rows)             # urls to tars of clips, every failure named in the parquet
    scores = score(shards)           # one row a clip: similarity, watermark, motion, near-duplicates ...
    vectors = embed(shards)          # clip-retrieval's layout
    near = index(vectors)            # text or clip to clips, filtered inside the search
    subset = manifest(scores)        # sorted 128-bit ids, with the SQL and digests that made them

Each stage reads and writes the files of its neighbours, in the formats of img2dataset, video2dataset,
clip-retrieval and DataComp, so that their shards and ours are interchangeable.
"""
