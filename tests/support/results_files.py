"""Annotated pictures without pictures, and what a good detector says of them."""

import json

import numpy as np

CATEGORIES = {0: "animals", 2: "fish", 3: "ray", 7: "star"}
"""With a super-category that is no class, as Roboflow writes it, and gaps."""


def truth_document(pictures=12, seed=0):
    """Two boxes a picture, ids that are not places and not in order, and names whose numbers are not the ids."""
    generator = np.random.default_rng(seed)
    ids = [40 + 3 * number for number in reversed(range(pictures))]
    annotations = []
    for at, number in enumerate(ids):
        for left in (20, 330):
            box = [left + at, 30 + at, *generator.uniform(60, 200, 2).round(2).tolist()]
            one = {"id": len(annotations), "image_id": number, "category_id": [2, 3, 7][len(annotations) % 3]}
            annotations.append({**one, "bbox": box, "area": box[2] * box[3] / 2, "iscrowd": 0})
    images = [
        {"id": number, "file_name": f"{900 + at:06}.jpg", "width": 640, "height": 480} for at, number in enumerate(ids)
    ]
    categories = [
        {"id": number, "name": name, "supercategory": "none" if name == "animals" else "animals"}
        for number, name in CATEGORIES.items()
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def results_for(document, seed=1):
    """A detection near each box, and a stray in each picture."""
    generator = np.random.default_rng(seed)
    found = []
    for one in document["annotations"]:
        box = (np.array(one["bbox"]) + generator.normal(0, 3, 4)).round(3).tolist()
        score = round(float(generator.uniform(0.3, 1)), 5)
        found.append({"image_id": one["image_id"], "category_id": one["category_id"], "bbox": box, "score": score})
    for image in document["images"]:
        score = round(float(generator.uniform(0.01, 0.4)), 5)
        found.append({"image_id": image["id"], "category_id": 3, "bbox": [250.5, 300.25, 40.0, 31.7], "score": score})
    return found


def write(path, content):
    """Write JSON, with folders; NaN as Python's own writer gives it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
