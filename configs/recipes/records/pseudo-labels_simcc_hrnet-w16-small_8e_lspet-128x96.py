# The student of LSPET on 1,000 labels and a record of a teacher on the other images (docs/teachers.md).
_base_ = ['../../simcc/lspet/simcc_hrnet-w16-small_8e_lspet-128x96.py']

labeled = dict(_base_.train_dataloader.dataset, ann_file='few/labeled.json')
train_pipeline = labeled.pop('pipeline')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/crowdpose.py'),
        datasets=[
            dict(labeled, pipeline=[]),
            dict(labeled, ann_file='few/record.json', pipeline=[]),
        ],
        pipeline=train_pipeline))
