import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boxwright.metrics import confusion_matrix, match_detections
from boxwright.reporting.gallery import judge
from support.scenes import CLASSES, scenes


@given(scenes(), st.lists(st.floats(0, 1), min_size=CLASSES, max_size=CLASSES))
def test_verdicts_add_up_to_the_confusion_matrix(scene, thresholds):
    matches = match_detections(*scene, CLASSES)
    verdicts = judge(matches, np.array(thresholds))
    confusion = confusion_matrix(matches, np.array(thresholds))
    classes, diagonal = confusion[:-1, :-1], np.diag(confusion)[:-1]
    assert verdicts.found.sum() == diagonal.sum()
    assert verdicts.wrong.sum() == classes.sum() - diagonal.sum()
    assert verdicts.false_alarm.sum() == confusion[-1].sum()
    assert verdicts.missed.sum() == confusion[:, -1].sum()
