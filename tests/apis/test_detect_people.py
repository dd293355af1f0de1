"""Boxes of people in images without labels."""

import pytest
import torch

from mmpose_tskd.apis import detect_people as detecting
from mmpose_tskd.apis.detect_people import detect_people, load_detector
from mmpose_tskd.apis.record_teacher import read_people
from mmpose_tskd.errors import UserError


class Detector(torch.nn.Module):
    """Finds a person, one that it doubts, and a thing; the person's box has the image's mean colors."""

    def forward(self, images):
        corner = 40 * images[0].mean((1, 2))
        boxes = torch.tensor([[0, 0, 40, 60], [0, 0, 9, 9], [0, 0, 9, 9]]) + torch.cat([corner[:2]] * 2)
        return [dict(boxes=boxes, labels=torch.tensor([1, 1, 3]), scores=torch.tensor([0.9, 0.2, 0.9]))]


def test_the_boxes_are_what_a_teacher_is_asked_about(toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(detecting, 'load_detector', lambda checkpoint: Detector())
    content = detect_people(str(toy_data), str(tmp_path / 'people.json'))
    assert [image['file_name'] for image in content['images']] == [f'images/{i}.png' for i in range(1, 7)]
    people = read_people(str(tmp_path / 'people.json'))
    assert people.ids == people.image_ids == [1, 2, 3, 4, 5, 6] and (people.scores == 0.9).all()
    assert people.boxes[0, 2:].tolist() == pytest.approx([40, 60], abs=0.02)


def test_the_weights_are_loaded_strictly(tmp_path):
    torch.save(dict(x=torch.zeros(1)), tmp_path / 'x.pth')
    with pytest.raises(UserError, match='x.pth does not fit detector'):
        load_detector(str(tmp_path / 'x.pth'))


def test_a_folder_without_images_and_a_damaged_one_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='has no image'):
        detect_people(str(tmp_path), 'out.json')
    monkeypatch.setattr(detecting, 'load_detector', lambda checkpoint: Detector())
    (tmp_path / 'a.jpg').write_bytes(b'nothing')
    with pytest.raises(UserError, match='a.jpg is missing or damaged'):
        detect_people(str(tmp_path), str(tmp_path / 'out.json'))
