"""What a token label says: what happened to a token. Importing it does not import torch."""

ORIGINAL_TOKEN, RESTORED_TOKEN, REPLACED_TOKEN, RANDOM_TOKEN, NOT_COUNTED = 0, 1, 2, 3, -100
LABEL_NAMES = {
    ORIGINAL_TOKEN: "original",
    RESTORED_TOKEN: "restored",
    REPLACED_TOKEN: "replaced",
    RANDOM_TOKEN: "random",
}
