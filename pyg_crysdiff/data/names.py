"""The names of the published data sets, known without loading PyG."""

DATASET_NAMES = ("demo", "carbon24", "perov5", "mp20")
